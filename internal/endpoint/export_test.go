package endpoint

import "time"

// LateAfter sets how late an answer is when the server is asked on a new connection.
func LateAfter(d *Deployment, late time.Duration) { d.watch.late.Store(int64(late)) }
