package endpoint

import "github.com/redis/rueidis"

// Builder is a rueidis.Client, or a connection that was dedicated by one.
type Builder interface{ B() rueidis.Builder }

// Arbitrary builds any command. Its arguments may be binary.
func Arbitrary(b Builder, args ...string) rueidis.Completed { return b.B().Arbitrary(args...).Build() }
