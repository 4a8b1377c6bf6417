import react from '@vitejs/plugin-react';

export default {
  plugins: [react()],
  // The client is linked from this repository, which has a React of its own.
  resolve: { dedupe: ['react', 'react-dom'] },
};
