import { getPublisher } from '@sidestream/server/next';
import { add, messagesOf } from '../../../messages';

export const runtime = 'nodejs';

export async function GET(request: Request) {
  const { searchParams } = new URL(request.url);
  return Response.json(messagesOf(searchParams.get('conversationId') ?? ''));
}

export async function POST(request: Request) {
  const body = await request.json();
  const [conversation, author, text] = [body.conversationId, body.author, body.text].map((field) => String(field ?? '').trim());
  if (!conversation || conversation.length > 40 || !author || author.length > 40 || !text || text.length > 2000) {
    return Response.json({ error: 'A message needs a conversation, an author and 1 to 2000 characters.' }, { status: 400 });
  }
  const message = add(conversation, author, text);
  getPublisher().broadcastToConversation(conversation, 'message:new', message);
  return Response.json(message, { status: 201 });
}
