import { annotationRules } from './rules/annotations.ts';
import { assetRules } from './rules/assets.ts';
import { deviceRules } from './rules/devices.ts';
import type { Rule, RuleFacts } from './rules/rule.ts';
import { sizeRules } from './rules/sizes.ts';
import { templateRules } from './rules/template.ts';
import { usefulnessRules } from './rules/usefulness.ts';

const rules: readonly Rule[] = [
  ...assetRules,
  ...sizeRules,
  ...templateRules,
  ...deviceRules,
  ...usefulnessRules,
  ...annotationRules,
];

/**
 * Checks a completed config against every rule that spans fields or the host; the first broken one is told.
 * @throws {VmError} INVALID_CONFIG naming the field
 */
export function checkRules(facts: RuleFacts): void {
  for (const rule of rules) rule(facts);
}
