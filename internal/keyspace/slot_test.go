package keyspace

import "testing"

func TestSlot(t *testing.T) {
	tests := []struct {
		name, key, why string
		want           uint16
	}{
		{name: "reference", key: "123456789", want: 0x31C3, why: "the check value of CRC16/XMODEM"},
		{name: "empty", key: "", want: 0, why: "an empty key is legal"},
		{name: "tag", key: "{user1000}.following", want: 3443, why: "only the tag counts"},
		{name: "same tag", key: "x{user1000}", want: 3443, why: "wherever it stands"},
		{name: "first brace", key: "foo{{bar}}zap", want: Slot("{bar"), why: "from the first { to the first }"},
		{name: "second tag", key: "foo{bar}{zap}", want: Slot("bar"), why: "later tags do not count"},
	}
	for _, tt := range tests {
		if got := Slot(tt.key); got != tt.want {
			t.Errorf("%s: Slot(%q) = %d, want %d (%s)", tt.name, tt.key, got, tt.want, tt.why)
		}
	}
	if Slot("foo{}{bar}") == Slot("bar") || Slot("a{}") == Slot("") {
		t.Error("an empty tag must not count as a tag")
	}
}

func TestSlotTagCoversEverySlot(t *testing.T) {
	for s := range uint16(Slots) {
		if got := Slot("{" + SlotTag(s) + "}x"); got != s {
			t.Fatalf("SlotTag(%d) = %q lies in slot %d", s, SlotTag(s), got)
		}
	}
}
