import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Board } from './Board.jsx';

const room = new URLSearchParams(location.search).get('room') ?? 'lobby';

createRoot(document.getElementById('app')).render(
  <StrictMode>
    <Board room={room} />
  </StrictMode>,
);
