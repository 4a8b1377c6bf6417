export interface Message {
  id: number;
  author: string;
  text: string;
  at: string;
}

const KEPT = 200; // messages of each conversation
const conversations = new Map<string, Message[]>();
let lastId = 0;

export const messagesOf = (conversation: string) => conversations.get(conversation) ?? [];

export function add(conversation: string, author: string, text: string): Message {
  const message = { id: (lastId += 1), author, text, at: new Date().toISOString() };
  conversations.set(conversation, [...messagesOf(conversation), message].slice(-KEPT));
  return message;
}
