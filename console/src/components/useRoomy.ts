import { useSyncExternalStore } from 'react';

const ROOMY = '(min-width: 689px)';

function subscribe(changed: () => void) {
  const media = matchMedia(ROOMY);
  media.addEventListener('change', changed);
  return () => media.removeEventListener('change', changed);
}

/** Whether there is room for a table; a phone has none. */
export const useRoomy = () => useSyncExternalStore(subscribe, () => matchMedia(ROOMY).matches);
