// rping of rdma-core, in both roles, over rdma_cm.
export { type RpingClientOptions, type RpingOptions, type RpingResult, rpingClient } from './client.js';
export { DEFAULT_PORT, DEFAULT_SIZE, MAX_SIZE, MIN_SIZE } from './message.js';
export { type RpingServerOptions, rpingServer } from './server.js';
