// Everything that a service imports.
export * from './verbs/index.js';
export * as rdmacm from './rdmacm/index.js';
export * from './ring/index.js';
export * from './pipeline/index.js';
export * from './jobs/index.js';
export * from './cluster/index.js';
