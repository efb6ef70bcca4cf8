// Invariant: core imports nothing of this package; every other layer may import core.

export {
  type ErrorCode,
  ErrorCodes,
  errnoError,
  isRdmaError,
  RdmaError,
  type RdmaErrorDetails,
  type RdmaErrorJson,
} from './errors.js';
export {
  checkAbortSignal,
  checkBoolean,
  checkBytes,
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  checkString,
  invalidArgument,
  type StringBounds,
} from './validate.js';
