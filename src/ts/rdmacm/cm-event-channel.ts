// An event channel: where the events of connection ids come from.
//
// Invariant: all waiting events are taken one by one, each acknowledged before the next, and handed to the id that they
// are about; none reaches an id that is closed. A channel that is not closed lives as long as its thread.
import { constants } from 'node:os';
import { errnoError, RdmaError } from '../core/errors.js';
import { checkOneOf } from '../core/validate.js';
import { Resource } from '../verbs/resource.js';
import { callError, openError } from './cm-errors.js';
import { decodeEvent } from './cm-events.js';
import { ConnectionId } from './connection-id.js';
import { nativeCm } from './native-cm.js';
import { PortSpace } from './parameters.js';

const { EMFILE, ENOMEM } = constants.errno;

/** Made by {@link CmEventChannel.open}. */
export class CmEventChannel extends Resource {
  private readonly ids = new Map<number, ConnectionId>();
  private holders = 0;
  private closing = false;

  private constructor(
    handle: number,
    private readonly closeWithLastId: boolean,
  ) {
    super(handle, 'rdma_cm event channel', 'rdma_destroy_event_channel', [], 'rdma_cm');
    const rc = nativeCm().watchCmChannel(handle, () => this.drain());
    if (rc !== 0) {
      this.close();
      throw errnoError(rc, 'uv_poll_init');
    }
  }

  /**
   * Opens a channel of one's own; {@link connect} and {@link listen} share one.
   *
   * @throws RdmaError RDMA_ERR_NO_DEVICE without an RDMA device or /dev/infiniband/rdma_cm, RDMA_ERR_NOT_SUPPORTED
   *   without librdmacm, each with the remedy; EACCES, EMFILE
   * @see rdma_create_event_channel(3)
   */
  static open(): CmEventChannel {
    return CmEventChannel.make(false);
  }

  private static make(closeWithLastId: boolean): CmEventChannel {
    const result = nativeCm().openCmChannel();
    if (typeof result !== 'number') throw openError(result);
    if (result <= 0) throw errnoError(result, 'rdma_create_event_channel');
    return new CmEventChannel(result, closeWithLastId);
  }

  private static common: CmEventChannel | undefined;

  /** @internal The channel of connect() and listen(), which closes with its last id: make an id at once. */
  static shared(): CmEventChannel {
    if (CmEventChannel.common === undefined || CmEventChannel.common.closed) {
      CmEventChannel.common = CmEventChannel.make(true);
    }
    return CmEventChannel.common;
  }

  /**
   * Makes an id.
   *
   * @param portSpace a value of {@link PortSpace}; default TCP: reliable connections
   * @throws RdmaError ENOMEM; RDMA_ERR_INVALID_ARGUMENT; RDMA_ERR_CLOSED
   * @see rdma_create_id(3)
   */
  createId(portSpace: number = PortSpace.TCP): ConnectionId {
    checkOneOf('portSpace', portSpace, Object.values(PortSpace));
    const handle = nativeCm().createCmId(this.handle, portSpace);
    if (handle <= 0) throw callError(handle, 'rdma_create_id');
    return this.adopt(handle, portSpace);
  }

  private adopt(handle: number, portSpace: number): ConnectionId {
    const id = new ConnectionId(this, handle, portSpace);
    this.ids.set(handle, id);
    return id;
  }

  /** @internal An id has closed. */
  forget(handle: number): void {
    this.ids.delete(handle);
    if (this.ids.size === 0 && this.closeWithLastId && !this.closing) this.close();
  }

  /** Makes waiting on this channel keep the process alive, once for each call, until as many release() follow. */
  hold(): void {
    if (this.holders++ === 0) this.keepAlive(true);
  }

  /** Undoes one hold(). */
  release(): void {
    if (--this.holders === 0 && !this.closed) this.keepAlive(false);
  }

  private keepAlive(keep: boolean): void {
    const rc = nativeCm().keepAlive(this.handle, keep);
    if (rc !== 0) throw errnoError(rc, 'uv_ref');
  }

  private drain(): void {
    while (!this.closed) {
      const event = nativeCm().nextCmEvent(this.rawHandle);
      if (event === undefined) return;
      if (typeof event === 'number') {
        // A request that found no room has been taken, and rejected, already.
        if (event === -EMFILE || event === -ENOMEM) continue;
        const error = errnoError(event, 'rdma_get_cm_event');
        for (const id of [...this.ids.values()]) id.fail(error);
        return;
      }
      const id = this.ids.get(event.id);
      if (event.request === 0) {
        id?.receive(decodeEvent(event));
        continue;
      }
      const request = this.adopt(event.request, id?.portSpace ?? PortSpace.TCP);
      if (id === undefined) request.close();
      else id.receive({ ...decodeEvent(event), request });
    }
  }

  override close(): void {
    if (this.closed) return;
    this.closing = true;
    try {
      super.close();
    } finally {
      this.closing = false;
    }
    for (const id of [...this.ids.values()])
      id.fail(new RdmaError('RDMA_ERR_CLOSED', 'the rdma_cm event channel is closed'));
    this.ids.clear();
  }
}
