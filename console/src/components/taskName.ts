/** What people call a task. */
export function taskName(task: {
  id: string;
  description: string | null;
  source: string | null;
  destination: string | null;
}): string {
  if (task.description) return task.description;
  return task.source ? `${task.source} → ${task.destination ?? ''}` : task.id;
}
