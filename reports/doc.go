// Package reports holds the results of the engines, in forms for people and for machines.
//
// A report is the result of an engine with a Header in front: Check, Verify, Migrate, BigKeys and Compat. Gate is the report on the
// others. The JSON form is the authoritative one (schemas are in schema/). HTML, Markdown, JUnit, CSV and the terminal table are
// renderings of it, and hold nothing that JSON does not. Write puts all files of a report into a directory, each of them complete
// or not at all. Load accepts only complete reports of a known schema. Evaluate judges reports by a Policy, and returns GO or
// NO-GO.
//
// Key names, values and error texts are untrusted input in every form. Whatever a terminal, a browser, a Markdown viewer or an XML
// parser could interpret is escaped, and invisible characters are made visible.
//
// The package makes no connections, and judges nothing but reports.
package reports
