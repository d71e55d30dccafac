import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';

// `npm run dev` stands in front of a hub that runs (`dth up --public-url http://127.0.0.1:5173`).
const hub = process.env.DTH_HUB_URL ?? 'http://127.0.0.1:8780';

/**
 * The layout brings a drawer for announcements of the AWS console, and with it a library for dragging: 20 KiB that
 * nothing of ours can ever show.
 */
const withoutAnnouncements: Plugin = {
  name: 'without-announcements',
  enforce: 'pre',
  resolveId: (id) => (id.endsWith('/feature-notifications-drawer-content') ? '\0no-announcements' : null),
  load: (id) =>
    id === '\0no-announcements'
      ? 'export default () => null; export const RuntimeContentPart = () => null;'
      : null,
};

type ModuleInfo = (id: string) => { importedIds: readonly string[] } | null;

/** What the first page needs: everything that the entry imports, and what that imports. */
function first(moduleInfo: ModuleInfo): Set<string> {
  const found = new Set<string>();
  const next = [`${import.meta.dirname}/src/main.tsx`];
  for (let id = next.pop(); id; id = next.pop()) {
    if (found.has(id)) continue;
    found.add(id);
    next.push(...(moduleInfo(id)?.importedIds ?? []));
  }
  return found;
}

let ofFirstPage: Set<string> | undefined;

export default defineConfig({
  plugins: [react(), withoutAnnouncements],
  build: {
    outDir: process.env.DTH_CONSOLE_OUT ?? '../src/dth/_console',
    emptyOutDir: true,
    target: 'es2022',
    manifest: 'manifest.json',
    modulePreload: { polyfill: false }, // it would be an inline script in old browsers
    assetsInlineLimit: 0, // the content security policy knows no data: addresses for scripts and styles
    chunkSizeWarningLimit: 1200,
    rolldownOptions: {
      output: {
        codeSplitting: {
          includeDependenciesRecursively: false, // they would take React out of the first page's file
          groups: [
            {
              // What pages have in common is one file instead of ninety: it compresses better, and comes at once.
              name: (id, context) => {
                ofFirstPage ??= first((each) => context.getModuleInfo(each));
                return id.startsWith('\0') || ofFirstPage.has(id) ? null : 'pages';
              },
              minShareCount: 2,
            },
          ],
        },
      },
    },
  },
  server: { host: '127.0.0.1', proxy: { '/graphql': hub, '/config.json': hub, '/oidc': hub } },
});
