"""What others are told of the decisions: a PLC over Modbus TCP, a plant's MQTT broker, OPC UA clients."""
