// What every verbs object has in common: a native handle, a parent, children, and one way to close.
//
// Invariant: children are closed before their parents; a closed object answers RDMA_ERR_CLOSED and never reaches
// native code. An object that was dropped without close() is closed when its device is collected, with a warning.
import { errnoError, RdmaError } from '../core/errors.js';
import { native, type NativeRaw } from '../addon/native.js';

/** See {@link Resource.raw}. */
export type RawNumbers = NativeRaw;

/** What is open below one device, by native handle. Held by the leak guard, so it refers to no object. */
export interface Ledger {
  device: string;
  handles: Map<number, string>;
}

const leakGuard = new FinalizationRegistry<Ledger>((ledger) => {
  if (ledger.handles.size === 0) return;
  const kinds = [...new Set(ledger.handles.values())].join(', ');
  process.emitWarning(`${ledger.device} was dropped with open objects (${kinds}); they are closed now`, {
    code: 'RDMA_WARN_LEAK',
    detail: 'Call close() when done, or declare the object with `using`.',
  });
  // Youngest first: children were made after their parents.
  for (const handle of [...ledger.handles.keys()].reverse()) native().close(handle);
});

/** An object that owns a native handle. */
export abstract class Resource implements Disposable {
  /** @internal */
  readonly ledger: Ledger;
  private handle_: number;
  private parents: readonly Resource[];
  private readonly children = new Set<Resource>();
  private readonly syscall: string;
  private readonly kind: string;

  /** @internal */
  protected constructor(handle: number, kind: string, syscall: string, parents: readonly Resource[], device?: string) {
    this.handle_ = handle;
    this.parents = parents;
    this.syscall = syscall;
    this.kind = kind;
    const above = parents[0]?.ledger;
    if (above === undefined) {
      this.ledger = { device: device ?? kind, handles: new Map() };
      leakGuard.register(this, this.ledger, this);
    } else {
      this.ledger = above;
    }
    this.ledger.handles.set(handle, kind);
    for (const parent of parents) parent.children.add(this);
  }

  /** True once close() has succeeded. */
  get closed(): boolean {
    return this.handle_ === 0;
  }

  /** @internal The native handle; throws RDMA_ERR_CLOSED after close(). */
  get handle(): number {
    if (this.handle_ === 0) {
      throw new RdmaError('RDMA_ERR_CLOSED', `the ${this.kind} is closed`);
    }
    return this.handle_;
  }

  /** @internal The native handle, 0 after close(): for the hot path, where native code answers -EBADF. */
  get rawHandle(): number {
    return this.handle_;
  }

  /**
   * Closes what was made from this object, youngest first, and then the object. A second call does nothing.
   *
   * @throws RdmaError with the errno when the device refuses; the object stays open then
   */
  close(): void {
    if (this.handle_ === 0) return;
    for (const child of [...this.children].reverse()) child.close();
    this.onClosing();
    const rc = native().close(this.handle_);
    if (rc !== 0) throw errnoError(rc, this.syscall);
    this.ledger.handles.delete(this.handle_);
    if (this.parents.length === 0) leakGuard.unregister(this);
    this.handle_ = 0;
    for (const parent of this.parents) parent.children.delete(this);
    this.onClosed();
  }

  /**
   * The native object behind this one, for calls that are not wrapped: the address of its C struct (`ibv_qp`, ...), the
   * kernel's handle, and the descriptors of a device (commands, asynchronous events) or completion channel (events).
   *
   * @returns pointer 0n, handle 0, descriptors -1 where there is none
   * @throws RdmaError ENOTSUP on a device without such things (soft0); RDMA_ERR_CLOSED
   */
  get raw(): RawNumbers {
    const raw = native().raw(this.handle);
    if (typeof raw === 'number')
      throw errnoError(raw, 'raw', `a ${this.kind} of ${this.ledger.device} has no C struct`);
    return raw;
  }

  /** @internal From now on a child of `parent` instead of the first one. */
  protected moveTo(parent: Resource): void {
    this.parents[0]?.children.delete(this);
    this.parents = [parent, ...this.parents.slice(1)];
    parent.children.add(this);
  }

  /** @internal Called before each attempt to close the native object. */
  protected onClosing(): void {}

  /** @internal Called once, after the native object has gone. */
  protected onClosed(): void {}

  /** As close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
