import vue from '@vitejs/plugin-vue';

export default {
  plugins: [vue()],
  // The client is linked from this repository, which has a Vue of its own.
  resolve: { dedupe: ['vue'] },
};
