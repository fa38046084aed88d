package ring

// polish trades cells between rows as long as that makes less move. Every node's count in every column stays.
func (pl *planner) polish() {
}
