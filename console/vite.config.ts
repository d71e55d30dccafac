import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// `npm run dev` shows the sources, and asks a hub that runs (`dth up`).
const hub = process.env.DTH_HUB_URL ?? 'http://127.0.0.1:8780';

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
  },
  server: { proxy: { '/graphql': hub, '/config.json': hub, '/oidc': hub } },
});
