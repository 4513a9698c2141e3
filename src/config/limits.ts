/** Longest path Linux takes, in characters. */
export const MAX_PATH_LENGTH = 4095;
/** Longest key or value of a parameter, in characters. */
export const MAX_VALUE_LENGTH = 4096;
/** Most entries of a list. */
export const MAX_LIST_ENTRIES = 256;
