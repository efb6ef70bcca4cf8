// The serve layer: workflows over HTTP.
export type { PreparedRequest, Prepare, Readiness } from './context.js';
export type { JobDesk, JobFilter } from './desk.js';
export { type DevEvent, DevServer, type DevServerOptions } from './dev-server.js';
export { type Log, LOG_LEVELS, type LogLevel, openLog } from './log.js';
export { checkServerOptions, LIMITS, type LimitName, type ServerLimits, type ServerOptions } from './options.js';
export {
  type ServedPipeline,
  type ServeOptions,
  type ServePipelineOptions,
  type Serving,
  serve,
  servePipeline,
} from './serve.js';
export { type Served, type Server, startServer } from './server.js';
export { DEMO_NAME, loadService, type Service } from './service.js';
export { type Access, Tokens } from './tokens.js';
