import { ComparisonHubDocument } from '../../api/generated';
import { useData } from '../../api/hooks';

/** Whether the hub compares at all; undefined until it has said so. */
export function useCompares(): boolean | undefined {
  return useData(ComparisonHubDocument, {}, { staleTime: Infinity }).data?.hubInfo.compares;
}
