// What the page goes through, as far as a connection has to follow. Where there is no page (Node, workers) nothing happens.

import type { Link } from './types.js';

/** Keeps `link` in step with the page until `ending`. */
export function follow(link: Link, ending: AbortSignal, pauseHidden?: number): void {
  const page = globalThis.document as Document | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const on = (target: EventTarget | undefined, type: string, does: () => void) =>
    target?.addEventListener?.(type, does, { signal: ending });
  const seen = () => {
    clearTimeout(timer);
    if (page?.hidden && pauseHidden !== undefined) timer = setTimeout(leave, pauseHidden);
    else {
      link.resume();
      if (!page?.hidden) link.wake(false);
    }
  };
  const leave = () => link.pause('hidden');

  // A connection that is open would keep the page out of the back/forward cache.
  on(globalThis, 'pagehide', leave);
  on(globalThis, 'pageshow', seen);
  on(globalThis, 'online', () => link.wake(true));
  on(page, 'freeze', leave);
  on(page, 'resume', seen);
  on(page, 'visibilitychange', seen);
  on(ending, 'abort', () => clearTimeout(timer));
  seen();
}
