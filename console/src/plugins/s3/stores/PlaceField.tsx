import Button from '@cloudscape-design/components/button';
import Input from '@cloudscape-design/components/input';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useTaskForm } from '../../context';
import { taskInput } from '../../form';
import { ParameterFrame } from '../../ParameterFrame';
import { useParameter } from '../../ParameterField';
import { Browser } from './Browser';
import { type Place, placeIn } from './place';

/** A bucket or a prefix: typed, pasted as `s3://bucket/prefix`, or looked for in the store. */
export function PlaceField({ name }: { name: string }) {
  const { t } = useTranslation();
  const { form, kind, complete, reading, set } = useTaskForm();
  const { text, example, fixed, touch } = useParameter(name);
  const [browsing, setBrowsing] = useState(false);
  const start = name.startsWith('src') ? 'src' : 'dest';
  const isBucket = name.endsWith('Bucket');
  const [bucket, prefix] = [`${start}Bucket`, `${start}Prefix`];
  // What a look into the store cannot do without.
  const needed = ['Endpoint', 'Region', 'Credentials', 'Profile'].map((end) => start + end);

  function take(place: Place) {
    set(bucket, place.bucket);
    set(prefix, place.prefix);
  }
  function change(typed: string) {
    const place = placeIn(typed);
    if (place) take(place);
    else set(name, isBucket ? typed.trim() : typed.trimStart());
  }
  return (
    <ParameterFrame
      name={name}
      constraintText={
        fixed ? t('create.fixed') : !isBucket && text.startsWith('/') ? t('stores.slash') : t('stores.paste')
      }
      secondaryControl={
        !fixed && (
          <Button
            ariaLabel={t(isBucket ? 'stores.browseBuckets' : 'stores.browseFolders')}
            onClick={() => complete(needed) && setBrowsing(true)}
          >
            {t('stores.browse')}
          </Button>
        )
      }
    >
      <Input
        value={text}
        placeholder={example}
        readOnly={fixed}
        autoComplete={false}
        spellcheck={false}
        onChange={(event) => change(event.detail.value)}
        onBlur={touch}
      />
      {browsing && (
        <Browser
          title={t('stores.browseTitle', { name: reading.value(`${start}Store`) || t('stores.theStore') })}
          input={taskInput(form, kind)}
          side={start === 'src' ? 'SOURCE' : 'DESTINATION'}
          start={
            isBucket
              ? { bucket: '', prefix: '' }
              : { bucket: reading.value(bucket), prefix: folderOf(reading.value(prefix)) }
          }
          onChoose={(place) => {
            take(place);
            setBrowsing(false);
          }}
          onDismiss={() => setBrowsing(false)}
        />
      )}
    </ParameterFrame>
  );
}

const folderOf = (prefix: string) => prefix.slice(0, prefix.lastIndexOf('/') + 1);
