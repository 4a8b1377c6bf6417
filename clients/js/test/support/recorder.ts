import type { Connected, Disconnect, Options, Reset, StreamError } from '@sidestream/client';

/** Options that keep all that is told. */
export function recorder() {
  const seen = {
    data: [] as any[],
    infos: [] as Connected[],
    ends: [] as Disconnect[],
    errors: [] as StreamError[],
    resets: [] as Reset[],
    states: [] as string[],
  };
  const options: Options = {
    on: { '*': (data) => seen.data.push(data) },
    onConnect: (info) => seen.infos.push(info),
    onDisconnect: (why) => seen.ends.push(why),
    onError: (error) => seen.errors.push(error),
    onReset: (reset) => seen.resets.push(reset),
    onState: (state) => seen.states.push(state),
    backoff: { base: 1, max: 20 },
  };
  return { seen, options };
}
