import { useCallback, useEffect, useRef, useState } from 'react';

const MAX_EVENTS = 100;

export function useSSE({ url, autoConnect = true, reconnectInterval = 1000, maxReconnectAttempts = 10, onOpen, onClose, onError, onMessage }) {
  const [isConnected, setIsConnected] = useState(false);
  const [isConnecting, setIsConnecting] = useState(false);
  const [error, setError] = useState(null);
  const [lastEvent, setLastEvent] = useState(null);
  const [events, setEvents] = useState([]);
  const source = useRef(null);
  const timer = useRef(null);
  const attempts = useRef(0);
  const handlers = useRef({});
  handlers.current = { onOpen, onClose, onError, onMessage };

  const disconnect = useCallback(() => {
    clearTimeout(timer.current);
    if (source.current) {
      source.current.close();
      source.current = null;
      handlers.current.onClose?.();
    }
    setIsConnected(false);
    setIsConnecting(false);
  }, []);

  const connect = useCallback(() => {
    disconnect();
    setIsConnecting(true);
    setError(null);
    const opened = new EventSource(url);
    source.current = opened;

    opened.onopen = () => {
      attempts.current = 0;
      setIsConnected(true);
      setIsConnecting(false);
      handlers.current.onOpen?.();
    };

    opened.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.type === 'connection_established' || event.type === 'heartbeat') return;
      setLastEvent(event);
      setEvents((before) => [...before, event].slice(-MAX_EVENTS));
      handlers.current.onMessage?.(event);
    };

    opened.onerror = () => {
      opened.close();
      setIsConnected(false);
      setError(new Error('The connection was lost.'));
      handlers.current.onError?.();
      attempts.current += 1;
      if (attempts.current > maxReconnectAttempts) {
        setIsConnecting(false);
        return;
      }
      setIsConnecting(true);
      timer.current = setTimeout(connect, reconnectInterval);
    };
  }, [url, reconnectInterval, maxReconnectAttempts, disconnect]);

  const clearEvents = useCallback(() => {
    setEvents([]);
    setLastEvent(null);
  }, []);

  useEffect(() => {
    if (autoConnect) connect();
    return disconnect;
  }, [autoConnect, connect, disconnect]);

  return { isConnected, isConnecting, error, lastEvent, events, connect, disconnect, clearEvents };
}
