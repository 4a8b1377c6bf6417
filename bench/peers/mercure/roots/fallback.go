// Package fallback stands in for the root certificates of the same name, which a server on loopback does not ask for.
package fallback
