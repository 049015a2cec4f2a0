package rowimage

// OldTimes names a column that is stored in the time format of servers before 5.6, or returns "". Such columns remain in tables that no
// ALTER TABLE has rebuilt since; a table that is created today has none.
func (m *TableMap) OldTimes() string {
	for i := range m.Columns {
		switch m.Columns[i].Type {
		case typeTime, typeDatetime, typeTimestamp:
			if m.Columns[i].Name == "" {
				return typeName(m.Columns[i].Type)
			}
			return m.Columns[i].Name
		}
	}
	return ""
}
