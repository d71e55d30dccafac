/** Texts of plugins by the folder of each: `../../plugins/FOLDER/en.json` is FOLDER's. */
export const byFolder = (files: Record<string, object>) =>
  Object.fromEntries(Object.entries(files).map(([path, texts]) => [path.split('/').at(-2) ?? '', texts]));
