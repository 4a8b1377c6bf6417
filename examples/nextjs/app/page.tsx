import { Chat } from './chat';

export default async function Page({ searchParams }: { searchParams: Promise<{ conversationId?: string }> }) {
  const { conversationId = 'lobby' } = await searchParams;
  return <Chat conversationId={conversationId} />;
}
