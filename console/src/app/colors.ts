/**
 * Colours of the design system, for what is no component of it. `console.css` has their values in both themes: the names of
 * its own properties differ between releases of its packages.
 */
export const colorTextBodySecondary = 'var(--dth-secondary)';
export const colorTextStatusError = 'var(--dth-error)';
export const colorTextStatusInfo = 'var(--dth-info)';
export const colorTextStatusSuccess = 'var(--dth-success)';
export const colorTextStatusWarning = 'var(--dth-warning)';
export const colorChartsPaletteCategorical1 = 'var(--dth-chart-1)';
export const colorChartsPaletteCategorical2 = 'var(--dth-chart-2)';
export const colorChartsPaletteCategorical3 = 'var(--dth-chart-3)';
