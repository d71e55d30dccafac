import { Suspense } from 'react';
import { Waiting } from '../app/Waiting';
import { kindsOf, pluginOf } from '../plugins/registry';

const Page = kindsOf()
  .map((type) => pluginOf(type).Stores)
  .find((page) => page);

/** The stores of the kind of task that has them. */
export const Stores = () => <Suspense fallback={<Waiting />}>{Page && <Page />}</Suspense>;
