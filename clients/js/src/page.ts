// What the page goes through, as far as a connection has to follow. Where there is no page (Node, workers) nothing happens.

import type { Link } from './types.js';

/** Keeps `link` in step with the page until `ending`. */
export function follow(link: Link, ending: AbortSignal, pauseHidden?: number): void {
  const page = globalThis.document as Document | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const on = (target: EventTarget | undefined, type: string, does: () => void) =>
    target?.addEventListener?.(type, does, { signal: ending });
  const leave = () => link.pause('hidden');
  const seen = () => {
    clearTimeout(timer);
    if (!page?.hidden) {
      link.resume();
      link.wake(false);
    } else if (pauseHidden !== undefined) timer = setTimeout(leave, pauseHidden);
  };
  const back = () => {
    if (!page?.hidden || pauseHidden === undefined) link.resume();
  };

  // A connection that is open would keep the page out of the back/forward cache.
  on(globalThis, 'pagehide', leave);
  on(globalThis, 'pageshow', back);
  on(globalThis, 'online', () => link.wake(true));
  on(page, 'freeze', leave);
  on(page, 'resume', back);
  on(page, 'visibilitychange', seen);
  on(ending, 'abort', () => clearTimeout(timer));
  if (page?.hidden) seen();
}
