import { useTranslation } from 'react-i18next';
import { colorTextStatusError, colorTextStatusSuccess, colorTextStatusWarning } from '../app/colors';
import type { RunResult, TaskRowFragment } from '../api/generated';
import { useFormat } from '../format';

const COLOR: Record<RunResult, string> = {
  DONE: colorTextStatusSuccess,
  INCOMPLETE: colorTextStatusWarning,
  EMPTY: colorTextStatusWarning,
  FAILED: colorTextStatusError,
};

/** How the last runs went, one bar each, the newest at the right. */
export function RunStrip({ runs }: { runs: TaskRowFragment['recentRuns'] }) {
  const { t } = useTranslation();
  const { when, duration } = useFormat();
  if (!runs.length) return <>-</>;
  return (
    <ol className="dth-strip" aria-label={t('tasks.recentRuns', { count: runs.length })}>
      {runs.map((run) => {
        const text = t('tasks.recentRun', {
          id: run.id,
          result: t(`runResult.${run.result}`),
          when: when(run.endedAt),
          took: duration(run.seconds),
        });
        return (
          <li
            key={run.id}
            className={`dth-run dth-run-${run.result}`}
            style={{ backgroundColor: COLOR[run.result] }}
            title={text}
          >
            <span className="dth-unseen">{text}</span>
          </li>
        );
      })}
    </ol>
  );
}
