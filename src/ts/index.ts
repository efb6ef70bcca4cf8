// Everything that a service imports.
export * from './verbs/index.js';
export * from './ring/index.js';
export * from './pipeline/index.js';
export * from './cluster/index.js';
