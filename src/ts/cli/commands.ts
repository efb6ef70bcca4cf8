// The commands of `onepiece`, in the order in which they are listed.
//
// Invariant: the modules of a command are loaded only when it is asked for, or when all are shown: most of what a
// command takes to start is the loading of modules.
import type { Command } from 'commander';

type SetExitCode = (code: number) => void;

/** Commands that are loaded together. */
interface CommandGroup {
  readonly names: readonly string[];
  load(setExitCode: SetExitCode): Promise<readonly Command[]>;
}

/** Every command. */
export const COMMAND_GROUPS: readonly CommandGroup[] = [
  { names: ['demo'], load: async (set) => [(await import('./demo.js')).demoCommand(set)] },
  { names: ['serve'], load: async (set) => [(await import('./serve.js')).serveCommand(set)] },
  { names: ['dev'], load: async (set) => [(await import('./dev.js')).devCommand(set)] },
  { names: ['bench'], load: async (set) => [(await import('./bench.js')).benchCommand(set)] },
  { names: ['pingpong'], load: async (set) => [(await import('./pingpong.js')).pingpongCommand(set)] },
  { names: ['jobs'], load: async (set) => [(await import('./jobs.js')).jobsCommand(set)] },
  { names: ['devices'], load: async () => [(await import('./devices.js')).devicesCommand()] },
  { names: ['doctor'], load: async (set) => [(await import('./doctor.js')).doctorCommand(set)] },
  { names: ['rping'], load: async (set) => [(await import('./rping.js')).rpingCommand(set)] },
  { names: ['top'], load: async (set) => [(await import('./top.js')).topCommand(set)] },
  {
    names: ['plan', 'simulate'],
    load: async (set) => {
      const { planCommand, simulateCommand } = await import('./plan.js');
      return [planCommand(set), simulateCommand(set)];
    },
  },
  { names: ['profile'], load: async (set) => [(await import('./profile.js')).profileCommand(set)] },
  { names: ['node'], load: async (set) => [(await import('./node.js')).nodeCommand(set)] },
  { names: ['cluster'], load: async () => [(await import('./cluster.js')).clusterCommand()] },
  { names: ['deploy', 'rollback'], load: async (set) => (await import('./release.js')).releaseCommands(set) },
  { names: ['undeploy', 'scale', 'drain', 'status'], load: async () => (await import('./apps.js')).clusterCommands() },
  { names: ['events'], load: async (set) => [(await import('./events.js')).eventsCommand(set)] },
];

/** They ask for the version of the package, which needs no command. */
const VERSION_FLAGS = ['-V', '--version'];

/**
 * Loads the commands that a command line may mean.
 *
 * @param first its first word; undefined: there is none
 * @returns the command of that name, with those beside it; none where the version is asked for; else all of them
 */
export async function loadCommands(first: string | undefined, setExitCode: SetExitCode): Promise<Command[]> {
  if (first !== undefined && VERSION_FLAGS.includes(first)) return [];
  const meant = COMMAND_GROUPS.filter(({ names }) => first !== undefined && names.includes(first));
  const groups = meant.length > 0 ? meant : COMMAND_GROUPS;
  return (await Promise.all(groups.map(({ load }) => load(setExitCode)))).flat();
}
