import { show } from '../show.ts';
import { broken, type Rule } from './rule.ts';

const patternsCompile: Rule = ({ config }) => {
  for (const [at, pattern] of config.enableAnnotations.entries()) {
    const compiled = compile(pattern);
    if (typeof compiled === 'string') {
      const field = `enableAnnotations[${at}]`;
      throw broken(field, `${field} is ${show(pattern)}, which is no regular expression: ${compiled}`);
    }
  }
};

/** The compiled pattern, or what is wrong with it. */
function compile(pattern: string): RegExp | string {
  try {
    return new RegExp(pattern, 'u');
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Rules for the annotations that may change a config. */
export const annotationRules: readonly Rule[] = [patternsCompile];
