import Alert from '@cloudscape-design/components/alert';
import AttributeEditor, { type AttributeEditorProps } from '@cloudscape-design/components/attribute-editor';
import Button from '@cloudscape-design/components/button';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import FormField from '@cloudscape-design/components/form-field';
import Input from '@cloudscape-design/components/input';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import {
  AdminSignInDocument,
  type AdminSignInQuery,
  type IssuerInput,
  type Role,
  SaveIssuerDocument,
  TestIssuerDocument,
  type TestIssuerQuery,
} from '../../api/generated';
import { useChange } from '../../api/hooks';
import { useFlash } from '../../app/flash';
import { ErrorAlert } from '../../components/ErrorAlert';
import { FormModal } from '../../components/FormModal';
import { HubText } from '../../components/HubText';
import { OptionalLabel } from '../../components/OptionalLabel';

type Issuer = NonNullable<AdminSignInQuery['getSignIn']['issuer']>;
interface GroupRole {
  group: string;
  role: Role;
}
type Check = TestIssuerQuery['testIssuer'][number];

const ROLES: Role[] = ['viewer', 'operator', 'admin'];
const TEXTS = ['issuer', 'clientId', 'roleClaim'] as const;
const MORE = ['audience', 'scope', 'caBundle'] as const;

const labelOf = (name: (typeof TEXTS)[number] | (typeof MORE)[number]) =>
  name === 'roleClaim' ? 'claim' : name;
const KINDS = { OK: 'success', WARNING: 'warning', FAILED: 'error', UNKNOWN: 'pending' } as const;

/** Sets an issuer, or changes the `known` one. It then waits for a sign-in of an administrator. */
export function IssuerForm({ known, onClose }: { known?: Issuer; onClose: () => void }) {
  const { t } = useTranslation();
  const flash = useFlash();
  const [texts, setTexts] = useState({
    issuer: known?.issuer ?? '',
    clientId: known?.clientId ?? '',
    roleClaim: known?.roleClaim ?? '',
    audience: known?.audience ?? '',
    scope: known?.scope ?? '',
    caBundle: known?.caBundle ?? '',
  });
  const [roles, setRoles] = useState<readonly GroupRole[]>(known?.roles ?? []);
  const [byDefault, setByDefault] = useState<Role | null>(known?.defaultRole ?? null);
  const [tried, setTried] = useState(false);
  const test = useChange(TestIssuerDocument, []);
  const save = useChange(SaveIssuerDocument, [AdminSignInDocument]);
  const complete = Boolean(texts.issuer.trim() && texts.clientId.trim());

  const input: IssuerInput = {
    ...Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, text.trim()])),
    issuer: texts.issuer.trim(),
    clientId: texts.clientId.trim(),
    roles: roles
      .filter(({ group }) => group.trim())
      .map(({ group, role }) => ({ group: group.trim(), role })),
    defaultRole: byDefault,
  };
  function submit() {
    setTried(true);
    if (!complete) return;
    save.mutate(
      { input },
      {
        onSuccess: () => {
          onClose();
          flash({ type: 'success', content: t('admin.signIn.saved') });
        },
      },
    );
  }
  const field = (name: keyof typeof texts) => (
    <Input
      value={texts[name]}
      autoComplete={false}
      spellcheck={false}
      onChange={(event) => setTexts({ ...texts, [name]: event.detail.value })}
    />
  );
  const definition = useRow((index, row) => setRoles(roles.with(index, row)));
  const roleOptions = ROLES.map((value) => ({ value, label: t(`role.${value}`) }));
  const refused = { value: '', label: t('admin.signIn.refused') };

  return (
    <FormModal
      title={t(known ? 'admin.signIn.change' : 'admin.signIn.set')}
      action={t('common.save')}
      busy={save.isPending}
      error={save.error}
      onSubmit={submit}
      onDismiss={onClose}
    >
      {TEXTS.map((name) => {
        const needed = name !== 'roleClaim';
        const label = t(`admin.signIn.${labelOf(name)}`);
        return (
          <FormField
            key={name}
            label={needed ? label : <OptionalLabel text={label} />}
            constraintText={t(`admin.signIn.${labelOf(name)}Hint`)}
            errorText={tried && needed && !texts[name].trim() ? t('common.required') : ''}
          >
            {field(name)}
          </FormField>
        );
      })}
      <FormField label={t('admin.signIn.roles')} description={t('admin.signIn.rolesHint')} stretch>
        <AttributeEditor
          items={roles}
          empty={t('admin.signIn.noRoles')}
          addButtonText={t('admin.signIn.addGroup')}
          removeButtonText={t('admin.signIn.removeGroup')}
          removeButtonAriaLabel={({ group }) => t('admin.signIn.removeGroupOf', { name: group })}
          onAddButtonClick={() => setRoles([...roles, { group: '', role: 'viewer' }])}
          onRemoveButtonClick={({ detail }) => setRoles(roles.toSpliced(detail.itemIndex, 1))}
          definition={definition}
        />
      </FormField>
      <FormField label={t('admin.signIn.default')}>
        <Select
          selectedOption={roleOptions.find(({ value }) => value === byDefault) ?? refused}
          options={[refused, ...roleOptions]}
          expandToViewport
          onChange={({ detail }) => setByDefault((detail.selectedOption.value || null) as Role | null)}
        />
      </FormField>
      <ExpandableSection headerText={t('admin.signIn.more')}>
        <SpaceBetween size="l">
          {MORE.map((name) => (
            <FormField
              key={name}
              label={<OptionalLabel text={t(`admin.signIn.${name}`)} />}
              constraintText={t(`admin.signIn.${name}Hint`)}
            >
              {field(name)}
            </FormField>
          ))}
        </SpaceBetween>
      </ExpandableSection>
      <SpaceBetween size="s">
        <Button
          formAction="none"
          loading={test.isPending}
          onClick={() => {
            setTried(true);
            if (complete) test.mutate({ input });
          }}
        >
          {t('admin.signIn.test')}
        </Button>
        <ErrorAlert error={test.error} />
        {test.data && <Found checks={test.data.testIssuer} />}
      </SpaceBetween>
    </FormModal>
  );
}

/** The fields of a group and its role. */
function useRow(
  onChange: (index: number, row: GroupRole) => void,
): AttributeEditorProps.FieldDefinition<GroupRole>[] {
  const { t } = useTranslation();
  const options = ROLES.map((value) => ({ value, label: t(`role.${value}`) }));
  return [
    {
      label: t('admin.signIn.group'),
      control: (row, index) => (
        <Input
          value={row.group}
          ariaLabel={t('admin.signIn.groupOf', { number: index + 1 })}
          autoComplete={false}
          onChange={({ detail }) => onChange(index, { ...row, group: detail.value })}
        />
      ),
    },
    {
      label: t('admin.role'),
      control: (row, index) => (
        <Select
          selectedOption={options.find(({ value }) => value === row.role) ?? null}
          options={options}
          ariaLabel={t('admin.signIn.roleOf', { number: index + 1 })}
          expandToViewport
          onChange={({ detail }) => onChange(index, { ...row, role: detail.selectedOption.value as Role })}
        />
      ),
    },
  ];
}

/** What the test found, line by line. */
function Found({ checks }: { checks: readonly Check[] }) {
  const { t } = useTranslation();
  return (
    <div aria-live="polite">
      <SpaceBetween size="xs">
        {checks.map(({ name, state, found }) => (
          <StatusIndicator
            key={name}
            type={KINDS[state]}
            iconAriaLabel={t(`admin.signIn.state.${state}`)}
            wrapText
          >
            {t(`admin.signIn.check.${name}`)}: <HubText>{found}</HubText>
          </StatusIndicator>
        ))}
        {checks.every(({ state }) => state === 'OK') && (
          <Alert type="success">{t('admin.signIn.good')}</Alert>
        )}
      </SpaceBetween>
    </div>
  );
}
