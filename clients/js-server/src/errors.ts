/** Why something did not happen. */
export type ErrorKind =
  /** No connection, no answer in time, or the answer broke off. */
  | 'unreachable'
  /** The daemon is there and cannot do it now: 408, 429, 5xx. */
  | 'unavailable'
  /** The daemon refused it, and would again: 400, 401, 403, 404, 409, 413 … */
  | 'refused'
  /** What answers is not sidestream. */
  | 'bad_answer'
  /** The call itself cannot be carried out: no name, data that is no JSON. */
  | 'invalid'
  /** The queue was full. */
  | 'dropped'
  /** It was tried for `giveUpAfter` without success. */
  | 'given_up'
  /** The publisher was closed before it could be sent. */
  | 'closed';

export interface ErrorDetails {
  kind: ErrorKind;
  status?: number | undefined;
  /** The daemon's own words. */
  problem?: Problem | undefined;
  /** Milliseconds that the daemon asks to wait for. */
  retryAfter?: number | undefined;
  /** Whether it may have happened all the same: it was sent, and no answer came. */
  unknown?: boolean | undefined;
  cause?: unknown;
}

/** The JSON of an answer that is no success. */
export interface Problem {
  error: string;
  reason?: string;
  field?: string;
  topic?: string;
  item?: number;
  published?: 'nothing' | 'unknown';
}

export class SidestreamError extends Error {
  readonly kind: ErrorKind;
  readonly status: number | undefined;
  readonly problem: Problem | undefined;
  readonly retryAfter: number | undefined;
  readonly unknown: boolean;

  constructor(message: string, details: ErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'SidestreamError';
    this.kind = details.kind;
    this.status = details.status;
    this.problem = details.problem;
    this.retryAfter = details.retryAfter;
    this.unknown = details.unknown ?? false;
  }

  /** Whether the same request may succeed a moment later. */
  get isTemporary(): boolean {
    return this.kind === 'unreachable' || this.kind === 'unavailable';
  }
}
