import FormField from '@cloudscape-design/components/form-field';
import RadioGroup from '@cloudscape-design/components/radio-group';
import { useTranslation } from 'react-i18next';
import type { Role } from '../../api/generated';

const ROLES: Role[] = ['viewer', 'operator', 'admin'];

/** A choice of what somebody may do. */
export function RoleField({ value, onChange }: { value: Role; onChange: (role: Role) => void }) {
  const { t } = useTranslation();
  return (
    <FormField label={t('admin.role')}>
      <RadioGroup
        value={value}
        items={ROLES.map((role) => ({
          value: role,
          label: t(`role.${role}`),
          description: t(`admin.roleHint.${role}`),
        }))}
        onChange={(event) => onChange(event.detail.value as Role)}
      />
    </FormField>
  );
}
