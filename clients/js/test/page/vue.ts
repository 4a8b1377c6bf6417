// A Vue application and Svelte stores that a test looks at.

import { createApp, defineComponent, h, ref, type App } from 'vue';
import { provideSSE, useEvent, usePresence } from '@sidestream/client/vue';
import { sse } from '@sidestream/client/svelte';

const url = ref<string | null>(null);
const Room = defineComponent({
  setup() {
    const last = useEvent<string>('message:new');
    const { users } = usePresence('presence', { load: async () => ['u1'] });
    return () => h('i', `${String(last.value?.data)} ${users.value.join('+')}`);
  },
});
const Chat = defineComponent({
  setup() {
    const { isConnected, events, error } = provideSSE(() => ({ url: url.value }));
    return () =>
      h('p', [
        `${isConnected.value} ${events.value.map(({ data }) => data).join()} ${error.value?.kind ?? 'fine'} `,
        h(Room),
      ]);
  },
});
let app: App | undefined;
const host = document.body.appendChild(document.createElement('main'));

const stores = { text: '', event: '', users: '', stop: [] as (() => void)[] };
Object.assign(globalThis, {
  vue: {
    mount: (to: string) => ((url.value = to), (app = createApp(Chat)).mount(host), 0),
    go: (to: string) => ((url.value = to), 0),
    unmount: () => (app!.unmount(), 0),
    text: () => host.textContent,
  },
  svelte: {
    stores,
    start(to: string) {
      const chat = sse({ url: to });
      stores.stop = [
        chat.subscribe(
          ({ isConnected, events }) => (stores.text = `${isConnected} ${events.map(({ data }) => data).join()}`),
        ),
        chat.event('message:new').subscribe((event) => (stores.event = String(event?.data))),
        chat
          .presence('presence', { load: async () => ['u1'] })
          .subscribe((users) => (stores.users = [...users].join('+'))),
      ];
      return 0;
    },
    stop: () => (stores.stop.forEach((stop) => stop()), 0),
  },
});
