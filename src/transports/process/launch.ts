import { Keeper, type KeeperOptions, type ProgramOptions } from './keeper.ts';
import type { LaunchedProcess } from './launched-process.ts';

/** A program, and a keeper of its own. */
export interface LaunchOptions extends KeeperOptions, ProgramOptions {}

/** Starts a program under a new keeper. @throws {VmError} what `Keeper.begin` and `Keeper.launch` throw */
export async function launch(options: LaunchOptions): Promise<LaunchedProcess> {
  return (await Keeper.begin(options)).launch(options);
}
