import { expect, test } from 'vitest';
import { isSamePlace, properAddress } from './Elsewhere';

const hub = 'http://127.0.0.1:8780';

test('the hub has one address', () => {
  expect(properAddress(hub, new URL('http://127.0.0.1:8780/tasks?page=2'))).toBeNull();
  expect(properAddress(undefined, new URL('https://console.example.com/'))).toBeNull();
  expect(properAddress(hub, new URL('http://localhost:8780/tasks?page=2#x'))).toBe(`${hub}/tasks?page=2#x`);
});

test('only another name of this machine and port is the same place', () => {
  expect(isSamePlace(hub, new URL('http://localhost:8780/'))).toBe(true);
  expect(isSamePlace(hub, new URL('http://localhost:9000/'))).toBe(false);
  expect(isSamePlace('https://hub.example.com', new URL('http://localhost/'))).toBe(false);
});
