// Package reports holds what the engines found, in the forms that people and machines read.
//
// A report is an engine's result under a Header: Check, Verify, Migrate, BigKeys, Compat, and Gate, which judges the others.
// JSON is the one source of truth (schemas in schema/); HTML, Markdown, JUnit and the terminal table are renderings
// of it and hold nothing that JSON does not. Write puts all files of a report into a directory, each whole or not at
// all; Load takes back only what is whole and known. Evaluate turns reports and a Policy into GO or NO-GO.
//
// Key names, values and error texts are hostile input in every form: whatever a terminal, a browser, a Markdown
// viewer or an XML parser could take for its own is escaped, and what cannot be seen is made visible.
//
// The package connects to nothing and judges nothing but reports.
package reports
