import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// `npm run dev` stands in front of a hub that runs (`dth up --public-url http://127.0.0.1:5173`).
const hub = process.env.DTH_HUB_URL ?? 'http://127.0.0.1:8780';

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
  plugins: [react()],
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
                console.error(ofFirstPage.size, id.slice(-60));
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
