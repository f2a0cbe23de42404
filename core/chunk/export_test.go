package chunk

// SealBody seals a body of a test's making, as only somebody with the key could.
var SealBody = sealBody

// Methods, for SealBody.
const (
	MethodPlain = methodPlain
	MethodZstd  = methodZstd
)
