import '@cloudscape-design/global-styles/index.css';
import './app/console.css';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './app/App';
import { loadConfig } from './app/config';
import { Unavailable } from './app/Unavailable';
import { createUserManager, SILENT_CALLBACK } from './app/signIn';
import { initTheme } from './app/theme';
import { initI18n } from './i18n';

initTheme();
const root = createRoot(document.getElementById('root')!);
await initI18n();
try {
  const config = await loadConfig();
  const manager = createUserManager(config);
  if (location.pathname === SILENT_CALLBACK) {
    await manager.signinSilentCallback(); // inside the hidden frame that renews a session: nothing to show
  } else {
    root.render(
      <StrictMode>
        <App config={config} manager={manager} />
      </StrictMode>,
    );
  }
} catch (error) {
  root.render(<Unavailable error={error} />);
}
