import '@cloudscape-design/global-styles/index.css';
import './app/console.css';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './app/App';
import { type Config, loadConfig } from './app/config';
import { Elsewhere, isSamePlace, properAddress } from './app/Elsewhere';
import { Unavailable } from './app/Unavailable';
import { CALLBACK, createUserManager, isSignedIn, SILENT_CALLBACK } from './app/signIn';
import { isTrial } from './app/trial';
import { initTheme } from './app/theme';
import { initI18n } from './i18n';

initTheme();
const root = createRoot(document.getElementById('root')!);
const texts = initI18n();
// It will be wanted: it comes while the rest is asked for.
if (isSignedIn() || location.pathname === CALLBACK) void import('./app/Console').catch(() => undefined);
try {
  const [config] = await Promise.all([loadConfig(), texts]);
  await start(config);
} catch (error) {
  await texts;
  root.render(<Unavailable error={error} />);
}

async function start(config: Config) {
  const here = new URL(location.href);
  const address = properAddress(config.url, here);
  const manager = createUserManager(config.oidc);
  if (address && isSamePlace(address, here)) {
    location.replace(address);
  } else if (address) {
    root.render(<Elsewhere address={address} />);
  } else if (location.pathname === SILENT_CALLBACK) {
    await manager.signinSilentCallback(); // inside the hidden frame that renews a session: nothing to show
  } else if (isTrial()) {
    const { takeTrial } = await import('./app/takeTrial');
    await takeTrial(config, manager);
  } else {
    root.render(
      <StrictMode>
        <App config={config} manager={manager} />
      </StrictMode>,
    );
  }
}
