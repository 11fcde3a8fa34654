package endpoint

import (
	"context"
	"errors"
	"fmt"
)

// Sides are the source and the target of a migration or a comparison.
type Sides struct{ Source, Target *Deployment }

// Specs are what Sides are opened by.
type Specs struct{ Source, Target Spec }

// URLs name the two sides as users write them.
type URLs struct{ Source, Target string }

// OpenSides opens both sides. If one cannot be opened, it closes the other one.
func OpenSides(ctx context.Context, s Specs) (Sides, error) {
	source, err := Open(ctx, s.Source)
	if err != nil {
		return Sides{}, fmt.Errorf("source: %w", err)
	}
	target, err := Open(ctx, s.Target)
	if err != nil {
		source.Close()
		return Sides{}, fmt.Errorf("target: %w", err)
	}
	return Sides{Source: source, Target: target}, nil
}

// Validate returns an error if a side is missing.
func (s Sides) Validate() error {
	if s.Source == nil || s.Target == nil {
		return errors.New("Config.Sides: the source and the target must be open")
	}
	return nil
}

// URLs returns the URLs of both sides, without passwords.
func (s Sides) URLs() URLs {
	return URLs{Source: s.Source.Spec().String(), Target: s.Target.Spec().String()}
}

// Close closes both sides.
func (s Sides) Close() {
	s.Source.Close()
	s.Target.Close()
}
