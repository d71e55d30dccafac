import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  plugins: [react()],
  test: {
    environment: 'jsdom',
    testTimeout: 30_000,
    // All cores: the default leaves one to the watcher, which is half of a small machine.
    maxWorkers: '100%',
    setupFiles: ['./src/test/setup.ts'],
    css: false,
    env: { TZ: 'UTC' },
    server: { deps: { inline: [/@cloudscape-design/] } },
    reporters: process.env.CI
      ? ['default', ['junit', { outputFile: process.env.VITEST_REPORT }]]
      : ['default'],
  },
});
