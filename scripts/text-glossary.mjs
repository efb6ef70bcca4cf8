// Phrases that comments, docs and texts of this project avoid, and what to write instead. check-text.mjs finds them.
//
// Invariant: a phrase is listed only if every use of it has a plainer wording. Words that are fine in some places are
// left to reviewers.

/** What to look for, and the advice. */
export const avoided = [
  [/\bin vain\b/gi, 'say what failed: "without success", "finds nothing"'],
  [/\banew\b/gi, '"again", or what is made: "a new one"'],
  [
    /\b(?:is|are|was|were|be|been|being) (?:not )?told\b(?! apart)/gi,
    'say who tells whom, or "learns", "is given", "gets"',
  ],
  [/\bgo(?:es)? (?:its|his|their) (?:own )?way\b/gi, 'say where it goes'],
  [/\bwhat (?:is|was|are) [a-z]+ (?:is|was|are)\b/gi, 'name the thing: "the lines that are missing are"'],
  [/(?<=[.;] )[Ww]ho (?=[a-z])(?![^.]*\?)/g, 'name the one who acts: "a caller that", "the process that"'],
  [/\bstands\b/gi, '"is", "holds", "says"; what is in a file "is in" it'],
  [/\b(?:he|him|his)\b/g, 'a process is "it", a person "they"'],
  [/\ball the same\b/gi, '"anyway", "still"'],
  [/\bthe very\b/gi, 'leave it out, or "the same"'],
  [/\b(?:nought|thereof|hereby|whereby|wherein)\b/gi, 'a plain preposition'],
];
