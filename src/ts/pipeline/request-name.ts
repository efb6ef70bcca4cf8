// The name of a request: the same wherever and whenever it runs.

/** @returns a name for people and handlers, and a key: no two requests have the same one */
export function requestName(gateway: number, gatewayRun: number, ticket: number): string {
  return `${gatewayRun.toString(16)}-${gateway}-${ticket}`;
}
