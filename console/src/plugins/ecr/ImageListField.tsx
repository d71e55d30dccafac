import Textarea from '@cloudscape-design/components/textarea';
import { useTranslation } from 'react-i18next';
import { useTaskForm } from '../context';
import { ParameterFrame } from '../ParameterFrame';
import { useParameter } from '../ParameterField';
import { isPublic } from './rules';

/** Images by their names, one a line. */
export function ImageListField({ name }: { name: string }) {
  const { t } = useTranslation();
  const { reading } = useTaskForm();
  const { text, example, set, touch } = useParameter(name);
  const open = isPublic(reading);
  return (
    <ParameterFrame name={name} constraintText={open ? t('ecr.listHint.public') : t('ecr.listHint.one')}>
      <Textarea
        value={text}
        placeholder={open ? 'alpine:3.20\nquay.io/team/app:ALL_TAGS' : example}
        rows={5}
        autoComplete={false}
        spellcheck={false}
        onChange={(event) => set(event.detail.value)}
        onBlur={touch}
      />
    </ParameterFrame>
  );
}
